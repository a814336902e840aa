"""The gateware: a weight-stationary systolic array and the machine around it, in Amaranth."""
