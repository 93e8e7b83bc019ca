"""What the public reads and practises: information page, posters, drills, false alarms fairly."""
