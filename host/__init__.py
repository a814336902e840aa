"""The host: networks, the compiler, the driver, and the command line."""
