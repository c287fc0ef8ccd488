"""What `busi.bench` measures, a group a file, and the plain script that it compares with."""
