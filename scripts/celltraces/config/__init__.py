"""Read the configuration: schema, messages for mistakes, defaults, the settings of each stage."""
