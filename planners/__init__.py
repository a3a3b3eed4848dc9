"""Numbers in, plan out: pure functions of the standard library, without file, clock or randomness."""
