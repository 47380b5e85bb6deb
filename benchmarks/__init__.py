"""How fast serlib is, beside the same computation written plainly and beside what people would use instead."""
