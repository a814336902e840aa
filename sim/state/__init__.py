"""The value of any register or memory word in any cycle, in closed form."""
