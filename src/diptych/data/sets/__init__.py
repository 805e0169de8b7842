"""The data sets that Diptych knows by name, one file each."""
