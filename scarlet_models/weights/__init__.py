"""Where weights come from and go to: resolve, store, convert, save, publish."""
