"""Small problems that ask for memory, and the trainer that any cell learns them with."""
