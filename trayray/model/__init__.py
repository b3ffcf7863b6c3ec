"""Values that every layer shares: ids, resource amounts, options, settings. Imports nothing above it."""
