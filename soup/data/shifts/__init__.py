"""Distribution shifts: published layouts, class maps, how answers are counted."""
