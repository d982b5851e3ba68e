"""Random programs of hostile objects: nothing that a program does may end the process or break what is Rust."""
