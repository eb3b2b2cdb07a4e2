"""What any training needs: data, splits, transforms, optimizer, run folder, checkpoints, distribution, device."""
