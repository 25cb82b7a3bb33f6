"""What is said: messages, sessions, agreements, ledger rules, audit; no I/O, clock or randomness."""
