"""Where weights come from and go to: resolve, source, hub, store, install, convert, save, publish."""
