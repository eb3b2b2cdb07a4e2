"""Looking at a network: counting, layout, drawing, timing."""
