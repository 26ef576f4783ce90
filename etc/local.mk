# SPDX-License-Identifier: MIT
# The sample goes to the examples always, and into place only where there is no configuration yet:
# that one belongs to who runs the host. The same reason keeps `make uninstall` off it once changed.
examplesdir = $(docdir)/examples
dist_examples_DATA = \
	etc/redmutexd-alerts.yml \
	etc/redmutexd-dashboard.json \
	etc/redmutexd.ini

install-data-hook:
	$(MKDIR_P) $(DESTDIR)$(sysconfdir)
	test -e $(DESTDIR)$(sysconfdir)/redmutexd.ini || \
		$(INSTALL_DATA) $(srcdir)/etc/redmutexd.ini $(DESTDIR)$(sysconfdir)/redmutexd.ini

uninstall-hook:
	! cmp -s $(srcdir)/etc/redmutexd.ini $(DESTDIR)$(sysconfdir)/redmutexd.ini || \
		rm -f $(DESTDIR)$(sysconfdir)/redmutexd.ini
