"""The machine behind a serial port: a UART, and frames that survive a bad line."""
