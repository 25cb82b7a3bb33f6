"""What is said: messages, sessions, agreements, ledger rules, audit. No I/O, no clock, no randomness of its own."""
