"""What a run would take, counted on its own modules without running it: memory, arithmetic, time, communication, reading."""
