"""What is known beside the wire: kelurahan, units, posts as they were surveyed, officers."""
