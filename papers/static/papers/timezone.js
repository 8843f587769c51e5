// Fills the hidden time zone of a subscribe form with the browser's own; without it, UTC is taken.
for (const field of document.querySelectorAll('input[type="hidden"][name="time_zone"]')) {
  field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
}
