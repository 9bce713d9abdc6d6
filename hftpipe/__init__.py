"""hftpipe: a high-frequency trading pipeline in Python."""
