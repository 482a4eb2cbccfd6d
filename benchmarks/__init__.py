"""What is measured, against its goal; `make bench` runs all."""
