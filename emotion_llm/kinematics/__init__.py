"""How a body moves, in numbers with names and units: the field's kinematic descriptors of one motion."""
