// Opened from disk, a page must not read another one: what is found is shown by its title alone.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
