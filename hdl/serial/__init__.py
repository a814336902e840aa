"""The machine on a serial port: a UART, and framing that survives transmission errors."""
