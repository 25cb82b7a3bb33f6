"""What runs: daemon, client, storage, workers, command line. The only I/O."""
