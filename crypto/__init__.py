"""Mathematics and primitives: bytes and arrays in, bytes and arrays out."""
