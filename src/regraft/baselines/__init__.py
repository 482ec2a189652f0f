"""What a transferred network has to beat: plain methods on the raw examples; each public file is one."""
