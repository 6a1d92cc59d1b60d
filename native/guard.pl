#!/usr/bin/env perl
# The guard where it cannot be compiled and none was built: the same promises, one process of some 3 MB for each command, and no
# server. It needs perl alone, no module, and knows the system calls of Linux on x86_64 and aarch64; elsewhere it refuses.
#
#   guard.pl --version
#   guard.pl --session          one command for a runtime: descriptors 3: events, 4: request, then commands; its end is the runtime's
#   guard.pl --run ... -- COMMAND    one command for any caller, as native/guard/run.c has it
#
# Requests, commands and events are those of src/process/GuardProtocol.ts; change both files, and PROTOCOL, together.
use strict;
use warnings;
# Descriptors are closed under the handles that Perl keeps of them.
no warnings 'io';
require Config;

use constant { VERSION => '0.1.0', PROTOCOL => 4 };

my %calls = (
    x86_64 => {
        close => 3, execve => 59, setsid => 112, setuid => 105, setgid => 106, setgroups => 116,
        prctl => 157, rt_sigprocmask => 14, waitid => 247, signalfd4 => 289, pidfd_open => 434,
    },
    aarch64 => {
        close => 57, execve => 221, setsid => 157, setuid => 146, setgid => 144, setgroups => 159,
        prctl => 167, rt_sigprocmask => 135, waitid => 95, signalfd4 => 74, pidfd_open => 434,
    },
);
my ($machine) = $Config::Config{archname} =~ /^([^-]+)-linux/;
my $call = defined $machine && $Config::Config{ptrsize} == 8 ? $calls{$machine} : undef;
if (!defined $call) {
    print STDERR "guard.pl: the system calls of $Config::Config{archname} are not known to it\n";
    exit 125;
}

use constant {
    PR_SET_PDEATHSIG => 1, PR_SET_DUMPABLE => 4, PR_SET_NAME => 15, PR_SET_CHILD_SUBREAPER => 36,
    P_ALL => 0, P_PID => 1, WNOHANG => 1, WSTOPPED => 2, WEXITED => 4, WCONTINUED => 8, WNOWAIT => 0x01000000,
    CLD_EXITED => 1, CLD_KILLED => 2, CLD_STOPPED => 5,
    SIG_BLOCK => 0, SIG_UNBLOCK => 1, SIG_SETMASK => 2, SIGKILL => 9, SIGTERM => 15, SIGCHLD => 17, SIGCONT => 18, SIGSTOP => 19,
    SFD_FLAGS => 02000000 | 04000, F_SETFD => 2, F_DUPFD_CLOEXEC => 1030, FD_CLOEXEC => 1,
    ENOENT => 2, ESRCH => 3, EPERM => 1, ENOEXEC => 8, EACCES => 13, ENOTDIR => 20, EINVAL => 22,
    STEP_FORK => 1, STEP_CWD => 3, STEP_EXEC => 4,
    # As native/guard/tree.c has it.
    UNKILLABLE_MS => 5000,
};

# Since the start of the machine: a clock that nobody sets.
sub now_ms {
    open(my $file, '<', '/proc/uptime') or return time * 1000;
    my ($seconds) = split ' ', <$file>;
    return int($seconds * 1000);
}

# ---- signals ------------------------------------------------------------------------------------------------

sub bits { my $mask = 0; $mask |= 1 << ($_ - 1) for @_; return pack('Q', $mask) }

sub set_mask {
    my ($how, $mask) = @_;
    my $old = "\0" x 8;
    syscall($call->{rt_sigprocmask}, $how, $mask, $old, 8);
    return $old;
}

# A descriptor that is readable when one of them has come; they must be blocked.
sub signal_descriptor {
    my ($mask) = @_;
    my $fd = syscall($call->{signalfd4}, -1, $mask, 8, SFD_FLAGS);
    return undef if $fd < 0;
    open(my $handle, '<&=', $fd) or return undef;
    return $handle;
}

sub wait_readable {
    my ($seconds, @handles) = @_;
    my $set = '';
    vec($set, fileno($_), 1) = 1 for @handles;
    my $found = select($set, undef, undef, $seconds);
    return map { $found > 0 && vec($set, fileno($_), 1) ? 1 : 0 } @handles;
}

# ---- processes ----------------------------------------------------------------------------------------------

# (state, parent, group, start time, resident pages); empty where there is no such process.
sub process_stat {
    my ($pid) = @_;
    open(my $file, '<', "/proc/$pid/stat") or return;
    my $text = <$file>;
    return unless defined $text;
    # The name may hold anything, parentheses too: start behind the last one.
    my @fields = split ' ', substr($text, rindex($text, ')') + 2);
    return @fields[0, 1, 2, 19, 21];
}

sub children_of {
    my ($pid) = @_;
    if (open(my $file, '<', "/proc/$pid/task/$pid/children")) {
        my $text = <$file>;
        return defined $text ? split(' ', $text) : ();
    }
    return () if $pid != $$;
    opendir(my $proc, '/proc') or return ();
    return grep { /^\d+$/ && ((process_stat($_))[1] // 0) == $pid } readdir $proc;
}

sub below {
    my (@tree) = children_of($_[0]);
    for (my $at = 0; $at < @tree && @tree < 100_000; $at++) { push @tree, children_of($tree[$at]) }
    return @tree;
}

# (pid, code, status); empty: nothing of that kind has happened.
sub wait_id {
    my ($type, $id, $flags) = @_;
    my $info = "\0" x 128;
    return if syscall($call->{waitid}, $type, $id, $info, $flags | WNOHANG, 0) < 0;
    my ($code, $pid, $status) = unpack('x8 l x4 l x4 l', $info);
    return $pid == 0 ? () : ($pid, $code, $status);
}

# How it ended, without reaping it: while the zombie is there its pid and group are nobody else's.
sub has_exited { return wait_id(P_PID, $_[0], WEXITED | WNOWAIT) }

sub reap_strays {
    my ($leader) = @_;
    while (my ($pid) = wait_id(P_ALL, 0, WEXITED | WNOWAIT)) {
        return if $pid == $leader;
        waitpid($pid, WNOHANG);
    }
}

# False while somebody is left.
sub reap_all {
    while (1) {
        my $pid = waitpid(-1, WNOHANG);
        return 0 if $pid == 0;
        return 1 if $pid < 0;
    }
}

sub adopt_orphans { return syscall($call->{prctl}, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 }
sub call_it { my $name = $_[0]; syscall($call->{prctl}, PR_SET_NAME, $name, 0, 0, 0) }

# Ends everything below; (code, status, survivors...) of the leader, and of whom SIGKILL did not end in time.
# `told` hears of the leader's end before the rest is gone.
sub end_tree {
    my ($leader, $children, $told) = @_;
    my $deadline = now_ms() + UNKILLABLE_MS;
    kill 'KILL', -$leader;
    my (undef, @how) = has_exited($leader);
    kill 'KILL', $leader unless @how;
    for (my $pass = 0; ; $pass++) {
        # What is still there may be growing: what is stopped cannot fork.
        if ($pass >= 2) { kill 'STOP', $_ for below($$) }
        kill 'KILL', $_ for children_of($$);
        (undef, @how) = has_exited($leader) unless @how;
        if (@how) {
            $told->(@how) if $told;
            undef $told;
            return (@how) if reap_all();
        }
        if (now_ms() >= $deadline) {
            my @left = children_of($$);
            return (@how ? @how : (CLD_KILLED, SIGKILL), @left ? @left : $leader);
        }
        my ($news) = wait_readable($pass < 3 ? 0.002 : $pass < 50 ? 0.005 : 0.05, $children);
        sysread($children, my $ignored, 128 * 64) if $news;
    }
}

# ---- from fork to exec --------------------------------------------------------------------------------------

sub close_other_descriptors {
    my %kept = map { fileno($_) => 1 } @_;
    opendir(my $fds, '/proc/self/fd') or return;
    my @fds = grep { /^\d+$/ && $_ > 2 && !$kept{$_} && $_ != fileno($fds) } readdir $fds;
    closedir $fds;
    syscall($call->{close}, $_ + 0) for @fds;
}

# Never hands a script to a shell, unless `shell` says so, as execvp does. Comes back with the errno.
sub execute {
    my ($file, $argv, $envp, $path, $shell) = @_;
    my $strings = pack('p*', @$argv, undef);
    my $environment = pack('p*', @$envp, undef);
    my $denied = 0;
    my @candidates = index($file, '/') >= 0 ? ($file) : map { $_ eq '' ? $file : "$_/$file" } split(/:/, $path, -1);
    for my $candidate (@candidates) {
        syscall($call->{execve}, $candidate, $strings, $environment);
        my $errno = $! + 0;
        if ($errno == ENOEXEC && $shell) {
            my $sh = '/bin/sh';
            my @words = ($sh, $candidate, @$argv[1 .. $#$argv]);
            my $again = pack('p*', @words, undef);
            syscall($call->{execve}, $sh, $again, $environment);
        }
        return $errno if @candidates == 1;
        # A directory in PATH that this user may not enter hides nothing that it could run. execvp has it otherwise.
        if ($errno == EACCES) { $denied = 1 if $shell || -e $candidate }
        elsif ($errno != ENOENT && $errno != ENOTDIR) { return $errno }
    }
    return $denied ? EACCES : ENOENT;
}

sub default_signals { $SIG{$_} = 'DEFAULT' for @_ }

# ---- one command for a runtime ------------------------------------------------------------------------------

my @ignored = qw(PIPE HUP INT QUIT TERM USR1 USR2 TSTP TTIN TTOU ALRM);

sub session {
    open(my $events, '>&=', 3) or exit 125;
    open(my $orders, '+<&=', 4) or exit 125;
    fcntl($_, F_SETFD, FD_CLOEXEC) for $events, $orders;
    $SIG{$_} = 'IGNORE' for @ignored;
    my $old = set_mask(SIG_BLOCK, bits(SIGCHLD));
    my $children = signal_descriptor(bits(SIGCHLD));
    my $id = 0;
    my $emit = sub { syswrite($events, pack('L L l l', $id, @_)) };
    my $whole = sub {
        my ($bytes) = @_;
        my $held = '';
        while (length $held < $bytes) {
            my $n = sysread($orders, $held, $bytes - length $held, length $held);
            exit 0 unless $n;
        }
        return $held;
    };
    my $request = $whole->(unpack('L', $whole->(4)));
    my ($argc, $envc, $level, $processes, $memory);
    ($id, $argc, $envc, $level, $processes, $memory) = unpack('L x16 L5', $request);
    my ($cwd, undef, @words) = split /\0/, substr($request, 40), -1;
    my @argv = @words[0 .. $argc - 1];
    my @envp = @words[$argc .. $argc + $envc - 1];
    if (!defined $children || !adopt_orphans()) {
        $emit->(3, $! + 0, STEP_FORK);
        return;
    }
    call_it('creche-session');
    socketpair(my $ours, my $its, 1, 5, 0) or do { $emit->(3, $! + 0, STEP_FORK); return };
    my $guard = $$;
    my $leader = fork;
    if (!defined $leader) { $emit->(3, $! + 0, STEP_FORK); return }
    if ($leader == 0) {
        setpgrp(0, 0);
        close_other_descriptors($its);
        default_signals(@ignored, 'FPE', 'CHLD');
        # Should somebody kill the guard, at least the command goes with it.
        syscall($call->{prctl}, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        exit 127 if getppid() != $guard;
        set_mask(SIG_SETMASK, bits());
        my @failed = (0, STEP_CWD);
        if (chdir $cwd) {
            my ($path) = map { substr $_, 5 } grep { index($_, 'PATH=') == 0 } reverse @envp;
            @failed = (execute($argv[0], \@argv, \@envp, $path // '/usr/local/bin:/usr/bin:/bin', 0), STEP_EXEC);
        }
        else { $failed[0] = $! + 0 }
        syswrite($its, pack('l l', @failed));
        syscall($call->{close}, fileno($its));
        kill 'KILL', $$;
    }
    close $its;
    # The streams are the command's alone from here: end of file on them must not wait for us.
    syscall($call->{close}, $_) for 0, 1, 2;
    if (sysread($ours, my $failed, 8)) {
        waitpid($leader, 0);
        $emit->(3, unpack('l l', $failed));
        return;
    }
    close $ours;
    $emit->(2, $leader, $$);
    my (undef, undef, undef, $started) = process_stat($leader);
    $emit->(8, unpack('l l', pack('Q', $started))) if defined $started;

    my $watched = $processes > 0 || $memory > 0;
    my $rest = '';
    while (1) {
        my ($ordered, $changed) = wait_readable($watched ? 0.05 : undef, $orders, $children);
        sysread($children, my $ignored, 128 * 64) if $changed;
        if ($ordered) {
            # End of file: the runtime is gone.
            last unless sysread($orders, $rest, 4096, length $rest);
            my $end = 0;
            while (length $rest >= 8) {
                my ($type, $signal) = unpack('L l', substr($rest, 0, 8, ''));
                if ($type == 3) { $end = 1 }
                # A leader that moved to a group of its own choice leaves this one empty.
                elsif ($type == 1) { kill(-$signal, $leader) or kill($signal, $leader) }
                elsif ($type == 2) { kill $signal, $leader }
            }
            last if $end;
        }
        my @how = has_exited($leader);
        last if @how;
        reap_strays($leader);
        next unless $watched;
        my @over = over_limit($processes, $memory);
        next unless @over;
        $emit->(10, @over);
        last;
    }
    # A session's tree ends with its leader, by command, or with the runtime: no grace here, that was the runtime's to give.
    my $told = 0;
    my $tell = sub { my ($code, $status) = @_; $told++ or $emit->($code == CLD_EXITED ? 4 : 5, $status, 0) };
    my ($code, $status, @survivors) = end_tree($leader, $children, $tell);
    $emit->(6, $_, 0) for @survivors;
    $emit->(7, scalar @survivors, 0);
}

sub page_kib {
    open(my $file, '<', '/proc/self/auxv') or return 4;
    my %value = unpack('Q*', do { local $/; <$file> });
    return ($value{6} // 4096) / 1024;
}

# (kind of limit, amount) where the tree takes more; memory in KiB, shared pages counted once.
sub over_limit {
    my ($processes, $memory) = @_;
    my @tree = grep { ((process_stat($_))[0] // 'X') !~ /[ZX]/ } below($$);
    return (2, scalar @tree) if $processes > 0 && @tree > $processes;
    return if $memory == 0;
    my $resident = 0;
    my $page = page_kib();
    $resident += $page * ((process_stat($_))[4] // 0) for @tree;
    return if $resident <= $memory;
    my $sum = 0;
    for my $pid (@tree) {
        my $proportional;
        if (open(my $file, '<', "/proc/$pid/smaps_rollup")) {
            while (<$file>) { $proportional = $1 if /^Pss:\s+(\d+)/ }
        }
        # It may forbid the look: then all that no file stands behind is its own.
        if (!defined $proportional && open(my $file, '<', "/proc/$pid/statm")) {
            my (undef, $all, $shared) = split ' ', <$file> // '';
            $proportional = $page * ($all - $shared) if defined $shared;
        }
        $sum += $proportional // 0;
    }
    return $sum > $memory ? (1, $sum) : ();
}

# ---- one command for any caller: as run.c, front.c and keeper.c ------------------------------------------------

use constant { USAGE => 2, CANNOT_GUARD => 125, CANNOT_RUN => 126, NOT_FOUND => 127, CALLER_GONE => -1, CONTINUED => -1 };
use constant { NOTE_STARTED => 1, NOTE_FAILED => 2, NOTE_STOPPED => 3, NOTE_ENDED => 4 };

my %number_of = do { my $n = 0; map { $_ => $n++ } split ' ', $Config::Config{sig_name} };

sub complain {
    my ($what, $word) = @_;
    print STDERR "creche guard: $what", defined $word ? ": \"$word\"" : '', "\n";
    exit USAGE;
}

sub signal_of {
    my ($text) = @_;
    return $text + 0 if $text =~ /^\d{1,2}$/ && $text < 65;
    $text =~ s/^SIG//;
    return $number_of{$text} // -1;
}

# Where they do not stand in the way of what the command inherits.
sub higher {
    my ($handle) = @_;
    my $fd = fcntl($handle, F_DUPFD_CLOEXEC, 10) or return undef;
    open(my $other, '+<&=', $fd + 0) or return undef;
    close $handle;
    fcntl($other, F_SETFD, FD_CLOEXEC);
    return $other;
}

sub pair {
    socketpair(my $one, my $two, 1, 5, 0) or return;
    return (higher($one), higher($two));
}

sub parse_run {
    my %run = (
        grace_ms => 0, signal => SIGTERM, group => 0, rewrite => {}, caller => -1, argv0 => undef, uid => -1, gid => -1, report => undef, env => [],
    );
    my @words = @_;
    my $number = sub { my ($name, $value) = @_; $value =~ /^\d{1,10}$/ ? $value + 0 : complain("--$name wants a number", $value) };
    my %take = (
        'grace-ms' => sub { $_[0] =~ /^\d{1,10}$/ ? ($run{grace_ms} = $_[0] + 0) : complain('--grace-ms wants milliseconds', $_[0]) },
        'signal' => sub { $run{signal} = signal_of($_[0]); complain('--signal names no signal', $_[0]) if $run{signal} <= 0 },
        'rewrite' => sub {
            my ($from, $to) = map { signal_of($_) } split /:/, $_[0];
            complain('--rewrite wants two signals, FROM:TO, the second may be 0', $_[0]) unless defined $to && $from > 0 && $to >= 0;
            $run{rewrite}{$from} = $to;
        },
        'parent' => sub { $run{caller} = $number->('parent', $_[0]) },
        # What would mean something to this very program, and is meant for the command.
        'env' => sub { push @{ $run{env} }, $_[0] },
        'argv0' => sub { $run{argv0} = $_[0] },
        'uid' => sub { $run{uid} = $number->('uid', $_[0]) },
        'gid' => sub { $run{gid} = $number->('gid', $_[0]) },
        'report' => sub {
            my $fd = $number->('report', $_[0]);
            open($run{report}, '>>&=', $fd) or complain('--report wants a descriptor', $_[0]);
            fcntl($run{report}, F_SETFD, FD_CLOEXEC);
        },
    );
    while (@words && $words[0] =~ /^--(.+)/s) {
        shift @words;
        my ($name, $value) = split /=/, $1, 2;
        if ($name eq 'group') { $run{group} = 1; next }
        complain('there is no such option', $name) unless $take{$name};
        $value = shift @words unless defined $value;
        complain('an option wants a value', $name) unless defined $value;
        $take{$name}->($value);
    }
    complain($words[0] =~ /^-/ ? 'there is no such option' : 'put -- before the command line', $words[0]) if @words && $words[0] ne '--';
    shift @words;
    complain('what shall it run? creche guard [OPTION...] -- COMMAND [ARGUMENT...]') unless @words;
    $run{command} = \@words;
    return \%run;
}

# False: the caller is gone. Sets a descriptor that is readable once he is, or `look`: he has to be looked for.
sub watch_caller {
    my ($run) = @_;
    my $parent = getppid();
    $run->{caller} = $parent if $run->{caller} < 0;
    return 1 if $run->{caller} == 0 || $$ == 1;
    my $fd = syscall($call->{pidfd_open}, $run->{caller} + 0, 0);
    my $error = $! + 0;
    return 0 if $run->{caller} != getppid();
    if ($fd >= 0) {
        open(my $handle, '<&=', $fd) or return 1;
        $run->{caller_handle} = higher($handle);
    }
    $run->{look} = $fd < 0 && $error != ESRCH && $error != EINVAL;
    return 1;
}

sub has_terminal { return open(my $tty, '+<', '/dev/tty') ? 1 : 0 }

sub is_within {
    my ($pid, $keeper) = @_;
    for (my $depth = 0; $pid > 1 && $depth < 64; $depth++) {
        return 1 if $pid == $keeper;
        $pid = (process_stat($pid))[1] // return 0;
    }
    return 0;
}

# Ends as the command did. Never returns.
sub end_as {
    my ($code, $status) = @_;
    if ($code != CLD_EXITED && $$ != 1) {
        syscall($call->{prctl}, PR_SET_DUMPABLE, 0, 0, 0, 0);
        my ($name) = grep { $number_of{$_} == $status } keys %number_of;
        $SIG{$name} = 'DEFAULT' if defined $name && $name !~ /^(KILL|STOP|NUM\d+|RTM..)$/;
        kill $status, $$;
        set_mask(SIG_UNBLOCK, bits($status));
    }
    # Not exit: it is one thing less that could go wrong.
    exit($code == CLD_EXITED ? $status : 128 + $status);
}

sub report_failure {
    my ($run, $error) = @_;
    return if $run->{report} && syswrite($run->{report}, pack('l l', $$, $error));
    $! = $error;
    print STDERR "creche guard: cannot run \"$run->{command}[0]\": $!\n";
}

sub stand_in_front {
    my ($run, $socket, $signals, $keeper) = @_;
    my $leader = 0;
    my %from_terminal = map { $_ => 1 } 2, 3, 20, 21, 22, 28;
    while (1) {
        my ($noted, $signalled) = wait_readable($run->{look} ? 0.2 : undef, $socket, $signals);
        if ($signalled && sysread($signals, my $infos, 128 * 32)) {
            for (my $at = 0; $at + 128 <= length $infos; $at += 128) {
                my ($signal, undef, $code, $sender) = unpack('L l l L', substr($infos, $at, 16));
                if ($signal == SIGCHLD) { reap_strays($keeper); next }
                # Who goes on with a job goes on with all of it; where only we are meant, see NOTE_STOPPED.
                next if $run->{in_terminal} && $signal == SIGCONT;
                # The terminal has sent it to the whole group, the command among it.
                next if $run->{in_terminal} && $from_terminal{$signal} && $code == 0x80;
                next if $run->{in_terminal} && $code == 0 && is_within($sender, $keeper);
                my $passed = $run->{rewrite}{$signal} // $signal;
                syswrite($socket, pack('l', $passed)) if $passed > 0;
                # Somebody may have stopped it.
                kill 'CONT', $keeper if $passed == SIGKILL;
            }
        }
        syswrite($socket, pack('l', CALLER_GONE)) if $run->{look} && getppid() != $run->{caller};
        next unless $noted;
        my $n = sysread($socket, my $note, 16);
        # A signal that the keeper did not live to read makes our end say so, once, before it gives what the keeper had sent.
        next if !defined $n;
        if ($n != 16) {
            # Somebody killed the keeper: what it held has come to us.
            my ($its) = grep { $_ == $leader } children_of($$);
            $its ? end_tree($leader, $signals) : end_orphans();
            end_as(CLD_KILLED, SIGKILL);
        }
        my ($type, $one, $two, $survivors) = unpack('l l l L', $note);
        if ($type == NOTE_STARTED) {
            $leader = $one;
            syscall($call->{close}, 2);
        }
        elsif ($type == NOTE_FAILED) {
            report_failure($run, $one);
            waitpid($keeper, 0);
            exit($one == ENOENT ? NOT_FOUND : $two == STEP_EXEC ? CANNOT_RUN : CANNOT_GUARD);
        }
        elsif ($type == NOTE_STOPPED) {
            kill 'STOP', $$;
            # This stop of the command's is over, then; a later one, of another Ctrl-Z, is not.
            syswrite($socket, pack('l', CONTINUED - $two));
        }
        elsif ($type == NOTE_ENDED) {
            waitpid($keeper, 0) if $survivors == 0;
            end_as($one, $two);
        }
    }
}

sub end_orphans {
    my $deadline = now_ms() + UNKILLABLE_MS;
    while (!reap_all() && now_ms() < $deadline) {
        kill 'KILL', $_ for children_of($$);
        select(undef, undef, undef, 0.005);
    }
}

# Byte for byte: Perl's own idea of it would lose what is there twice.
sub given_environment {
    open(my $file, '<', '/proc/self/environ') or return map { "$_=$ENV{$_}" } keys %ENV;
    local $/;
    return split /\0/, <$file> // '';
}

sub become_guarded {
    my ($run, $socket, $keeper) = @_;
    setpgrp(0, 0) unless $run->{in_terminal};
    my $fail = sub {
        syswrite($socket, pack('l l', $! + 0, $_[0]));
        kill 'KILL', $$;
    };
    # Not before the keeper has left the group: until then one blow could take both, and what we start meanwhile stay.
    sysread($socket, my $go, 1) or kill 'KILL', $$;
    # Nor before its word is read: a socket that is closed with something unread in it loses what we say of a failure.
    if ($run->{uid} >= 0 || $run->{gid} >= 0) { syscall($call->{setgroups}, 0, 0) }
    $fail->(STEP_FORK) if $run->{gid} >= 0 && syscall($call->{setgid}, $run->{gid} + 0) < 0;
    $fail->(STEP_FORK) if $run->{uid} >= 0 && syscall($call->{setuid}, $run->{uid} + 0) < 0;
    syscall($call->{prctl}, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    kill 'KILL', $$ if getppid() != $keeper;
    default_signals('FPE');
    # Where the caller had closed it, perl has read this very file from there.
    syscall($call->{close}, 0) if (readlink('/proc/self/fd/0') // '') =~ m{/guard\.pl$};
    set_mask(SIG_SETMASK, $run->{mask});
    my ($file, @arguments) = @{ $run->{command} };
    my @argv = ($run->{argv0} // $file, @arguments);
    my @envp = (@{ $run->{environment} }, @{ $run->{env} });
    my ($path) = map { substr $_, 5 } grep { index($_, 'PATH=') == 0 } @envp;
    $! = execute($file, \@argv, \@envp, $path // '/bin:/usr/bin', 1);
    $fail->(STEP_EXEC);
}

sub ask_below {
    my ($signal, $group) = @_;
    for my $pid (below($$)) { kill $signal, $pid if !defined $group || getpgrp($pid) == $group }
}

sub keep {
    my ($run, $front) = @_;
    my $front_pid = getppid();
    call_it('creche-keeper');
    adopt_orphans();
    my $self = $$;
    my $note = sub { my ($type, $one, $two, $survivors) = @_; syswrite($front, pack('l l l L', $type, $one, $two // 0, $survivors // 0)) };
    my ($start, $its) = pair();
    my $leader = $its ? fork : undef;
    if (!defined $leader) { $note->(NOTE_FAILED, $! + 0, STEP_FORK); exit 0 }
    if ($leader == 0) {
        close $start;
        become_guarded($run, $its, $self);
    }
    close $its;
    # Out of the group that a SIGKILL may be meant for. In a terminal also out of the session.
    if ($run->{in_terminal}) { syscall($call->{setsid}) }
    else { setpgrp(0, 0) }
    $SIG{$_} = 'IGNORE' for @ignored;
    set_mask(SIG_SETMASK, bits(SIGCHLD));
    my $children = signal_descriptor(bits(SIGCHLD));
    my $caller = $run->{caller_handle};
    close_other_descriptors(grep { defined } $front, $start, $children, $caller);
    syscall($call->{close}, $_) for 0, 1, 2;
    chdir '/';
    syswrite($start, '!');
    my ($deadline, $asked) = (-1, 0);
    my ($stops, $stopped) = (0, 0);
    my $deliver = sub {
        my ($signal) = @_;
        if (!$run->{group}) { kill $signal, $leader }
        elsif (!$run->{in_terminal}) { kill -$signal, $leader }
        else { ask_below($signal, getpgrp($leader)) }
    };
    while (1) {
        my $left = $deadline < 0 ? undef : ($deadline - now_ms()) / 1000;
        last if defined $left && $left <= 0;
        my @watched = ($front, $children, $start, $caller);
        my ($ordered, $changed, $begun, $gone) = do {
            my @there = grep { defined $watched[$_] } 0 .. 3;
            my @ready = wait_readable($left, @watched[@there]);
            my @all;
            @all[@there] = @ready;
            @all;
        };
        sysread($children, my $ignored, 128 * 32) if $changed;
        my @how = has_exited($leader);
        if ($start && ($begun || @how)) {
            my $n = sysread($start, my $failure, 8);
            close $start;
            undef $start;
            if ($n) {
                waitpid($leader, 0);
                $note->(NOTE_FAILED, unpack('l l', $failure));
                exit 0;
            }
            $note->(NOTE_STARTED, $leader);
        }
        while (!@how && (my (undef, $code) = wait_id(P_PID, $leader, WSTOPPED | WCONTINUED))) {
            $stopped = $code == CLD_STOPPED;
            $stops++ if $stopped;
            next unless $run->{in_terminal};
            if ($stopped) { $note->(NOTE_STOPPED, 0, $stops) }
            elsif (getppid() == $front_pid) { kill 'CONT', $front_pid }
        }
        my $order = 0;
        if ($ordered) {
            # Whoever killed the front meant us all, and now.
            last unless sysread($front, my $text, 4);
            $order = unpack('l', $text);
            # Whoever says SIGKILL means all of it, and no grace.
            last if $order == SIGKILL;
            $deliver->($order) if $order > 0 && !@how;
            kill 'CONT', $leader if $order == CONTINUED - $stops && $stopped && !@how;
        }
        if ($gone) { undef $caller; $order = CALLER_GONE }
        if ($order == CALLER_GONE && $deadline < 0) {
            last if $run->{grace_ms} == 0;
            $deadline = now_ms() + $run->{grace_ms};
            $deliver->($run->{signal}) unless @how;
        }
        if (!@how) {
            reap_strays($leader);
            next;
        }
        my @strays = grep { $_ != $leader && waitpid($_, WNOHANG) != $_ } children_of($$);
        last if $run->{grace_ms} == 0 || !@strays;
        if ($asked++ == 0) {
            $deadline = now_ms() + $run->{grace_ms} if $deadline < 0;
            ask_below($run->{signal});
        }
    }
    kill 'CONT', $front_pid if $run->{in_terminal} && getppid() == $front_pid;
    my ($code, $status, @survivors) = end_tree($leader, $children);
    $note->(NOTE_ENDED, $code, $status, scalar @survivors);
    exit 0;
}

sub run {
    my $run = parse_run(@_);
    if (!watch_caller($run)) {
        print STDERR "creche guard: $run->{caller} (--parent) did not start it, or is gone: nothing is run\n";
        exit CANNOT_GUARD;
    }
    $run->{environment} = [given_environment()];
    call_it('creche-guard');
    $run->{in_terminal} = has_terminal();
    # Those that a fault of our own raises are not passed on.
    my $mask = bits(grep { my $n = $_; !grep { $_ == $n } 4, 5, 6, 7, 8, 11, 31, 32, 33 } 1 .. 64);
    $run->{mask} = set_mask(SIG_SETMASK, $mask);
    adopt_orphans();
    my $signals = signal_descriptor($mask);
    $signals = higher($signals) if $signals;
    my ($ours, $its) = $signals ? pair() : ();
    my $keeper = $its ? fork : undef;
    if (!defined $keeper) { report_failure($run, $! + 0); exit CANNOT_GUARD }
    if ($keeper == 0) {
        close $ours;
        close $signals;
        keep($run, $its);
    }
    close $its;
    close_other_descriptors(grep { defined } $ours, $signals, $run->{report});
    syscall($call->{close}, $_) for 0, 1;
    chdir '/';
    stand_in_front($run, $ours, $signals, $keeper);
}

if (@ARGV == 1 && $ARGV[0] eq '--version') {
    if (!adopt_orphans()) { print STDERR "guard.pl: this system lets no process adopt orphans: $!\n"; exit 125 }
    print "creche guard ", VERSION, " protocol ", PROTOCOL, " (perl $^X)\n";
    exit 0;
}
if (@ARGV == 1 && $ARGV[0] eq '--session') { session(); exit 0 }
if (@ARGV && $ARGV[0] eq '--run') { run(@ARGV[1 .. $#ARGV]) }
print STDERR "usage: guard.pl --version | --session | --run [OPTION...] -- COMMAND [ARGUMENT...]\n";
exit 2;
