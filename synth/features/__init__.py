"""What images are compared by: fundus biomarkers (`retina`) and networks (`networks`), behind one interface (`base`)."""
