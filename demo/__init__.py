"""The main job on one machine: broker, gateway, post and command centre, each its own process."""
