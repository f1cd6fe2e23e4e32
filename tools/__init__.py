"""Programs that serve the project's own development; nothing here is installed with the appliance."""
