"""What the software is measured against: the usual way of doing the same, on the same machine, in turns."""
