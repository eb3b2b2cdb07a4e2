"""Where weights come from and go to: resolve, source, store, install, convert, save, publish."""
