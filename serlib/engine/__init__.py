"""How the method runs, never what it computes: silence computed once, bf16 products, several processes, unfinished runs."""
