"""The machine behind a serial port: a UART, and a framing that survives transmission errors."""
