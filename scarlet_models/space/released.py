"""The networks that were released with the paper (arXiv 1908.06022), in the space `scarlet`."""

GENOTYPES = {
    "scarlet_a": "2,4,1,8,9,7,9,0,8,2,1,8,0,8,9,10,6,9,11",
    "scarlet_b": "6,7,6,11,0,1,11,6,12,1,6,6,11,6,10,10,12,11,10",
    "scarlet_c": "7,6,7,12,12,0,11,6,6,1,8,2,6,8,6,12,9,11,10",
}

PAPER_TOP1 = {"scarlet_a": 76.9, "scarlet_b": 76.3, "scarlet_c": 75.6}  # percent, ImageNet, table 3
