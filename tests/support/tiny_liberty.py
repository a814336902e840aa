"""A standard-cell library small enough to compute with by hand."""

CELLS = {"INV": 1.0, "BUF": 1.5, "NAND2": 2.0, "NOR2": 2.5, "DFF": 7.0}
"""areas by cell"""

PIN = 0.01
"""capacitance of every input pin"""

# name: (pins, function, sense, delay without a load, delay per unit of load)
GATES = {
    "INV": ("A", "!A", "negative_unate", 0.05, 2.0),
    "BUF": ("A", "A", "positive_unate", 0.07, 1.0),
    "NAND2": ("AB", "!(A & B)", "negative_unate", 0.1, 3.0),
    "NOR2": ("AB", "!(A | B)", "negative_unate", 0.12, 4.0),
}
CLOCK_TO_OUTPUT, SETUP = 0.3, 0.08
"""times of the flip-flop; the first is without a load and grows by 1 per unit of load"""


def _delays(base, slope):
    """Return the tables of an arc whose delay is linear in the load."""
    values = ", ".join(f"{base + slope * load:g}" for load in (0, 1))
    names = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
    return "\n".join(f'{name} (over) {{ values ("{values}", "{values}"); }}' for name in names)


def gate(name, pins):
    """Return the delay of a gate whose output goes to a number of pins."""
    base, slope = GATES[name][3:]
    return base + slope * PIN * pins


def text():
    """Return the library as a Liberty file."""
    parts = [
        """library (tiny) { /* by hand */
  time_unit : "1ns" ; capacitive_load_unit (1, pf);
  lu_table_template (over) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("0, 10"); index_2 ("0, 1"); }"""
    ]
    for name, (pins, function, sense, base, slope) in GATES.items():
        arcs = "".join(
            f"timing () {{ related_pin : {pin}; timing_sense : {sense}; {_delays(base, slope)} }}\n" for pin in pins
        )
        inputs = "".join(f"pin ({pin}) {{ direction : input; capacitance : {PIN}; }}\n" for pin in pins)
        parts.append(
            f"cell ({name}) {{ area : {CELLS[name]}; {inputs} pin (Y) {{ direction : output; "
            f'function : "{function}"; {arcs} }} }}'
        )
    parts.append(f"""cell (DFF) {{ area : {CELLS["DFF"]}; ff (IQ, IQN) {{ clocked_on : "C"; next_state : "D"; }}
  pin (C) {{ direction : input; clock : true; capacitance : {PIN}; }}
  pin (D) {{ direction : input; capacitance : {PIN};
    timing () {{ related_pin : "C"; timing_type : setup_rising;
      rise_constraint (scalar) {{ values ("{SETUP}"); }} fall_constraint (scalar) {{ values ("{SETUP}"); }} }} }}
  pin (Q) {{ direction : output; function : "IQ";
    timing () {{ related_pin : "C"; timing_type : rising_edge; {_delays(CLOCK_TO_OUTPUT, 1.0)} }} }} }}""")
    return "\n".join(parts) + "\n}\n"
