"""TLS: connected and verified by Python's ``ssl``, read by compiled code through OpenSSL's own functions."""
