"""Looking at a network: counting, layout, drawing, timing; and how figures look."""
