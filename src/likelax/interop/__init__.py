"""Objects of other libraries, taken as they are. Each module needs the library that it names."""
