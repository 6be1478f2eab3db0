"""How near synthetic eyes are to real ones that the generator has not seen."""
