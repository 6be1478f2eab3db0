"""The ground floor: user errors, atomic writes, run folders, devices, progress, jobs and reports. Knows nothing of eyes."""
