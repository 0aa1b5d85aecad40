"""Template and spec become objects. Pure: the same input gives the same objects, and nothing is ever half made."""
