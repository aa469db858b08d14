"""MQTT: the connection to a broker, what a device publishes, Home Assistant's discovery, and the fleet of devices."""
