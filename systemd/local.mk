# SPDX-License-Identifier: MIT
# The units name the daemon where it will be installed, so they are made here and not by configure.
systemd_units = \
	systemd/redmutexd.service \
	systemd/redmutexd.socket
systemd_snippets = \
	systemd/redmutexd.sysusers \
	systemd/redmutexd.tmpfiles

EXTRA_DIST += \
	systemd/redmutexd.service.in \
	systemd/redmutexd.socket.in \
	$(systemd_snippets)
CLEANFILES += $(systemd_units)

$(systemd_units): Makefile
	$(AM_V_GEN)$(MKDIR_P) systemd && \
	sed -e 's|[@]sbindir[@]|$(sbindir)|g' -e 's|[@]sysconfdir[@]|$(sysconfdir)|g' \
		$(srcdir)/$@.in > $@.tmp && mv $@.tmp $@
systemd/redmutexd.service: $(srcdir)/systemd/redmutexd.service.in
systemd/redmutexd.socket: $(srcdir)/systemd/redmutexd.socket.in

if INSTALL_UNITS
systemdsystemunit_DATA = $(systemd_units)

# Renamed on the way: each goes to a folder in which others have theirs.
install-data-local:
	$(MKDIR_P) $(DESTDIR)$(prefix)/lib/sysusers.d $(DESTDIR)$(prefix)/lib/tmpfiles.d
	$(INSTALL_DATA) $(srcdir)/systemd/redmutexd.sysusers \
		$(DESTDIR)$(prefix)/lib/sysusers.d/redmutexd.conf
	$(INSTALL_DATA) $(srcdir)/systemd/redmutexd.tmpfiles \
		$(DESTDIR)$(prefix)/lib/tmpfiles.d/redmutexd.conf

uninstall-local:
	rm -f $(DESTDIR)$(prefix)/lib/sysusers.d/redmutexd.conf
	rm -f $(DESTDIR)$(prefix)/lib/tmpfiles.d/redmutexd.conf
endif
