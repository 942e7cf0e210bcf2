//! What the rules say of a file: of the names that [`crate::names`] has marked, of the last one's end, of the path.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{HashMap, LpmTrie, lpm_trie::Key},
};
use sentinel_ipc::kernel_abi::{
    CLASS_RULES, ClassRule, MIN_SUFFIX_BYTES, NAME_BYTES, Names, PATH_BYTES, PREFIX_BYTES, Prefix,
    SUFFIX_BYTES, Span, Suffix, rule,
};

use crate::{
    kernel::{Address, copy_kernel, forget, is_equal, opaque},
    names::{self, Marks, is_suffix_length, suffix},
};

/// Rules by a path's front.
#[map]
static PREFIXES: LpmTrie<Prefix, ClassRule> =
    LpmTrie::with_max_entries(CLASS_RULES, BPF_F_NO_PREALLOC);
/// Rules by components.
#[map]
static NAMES: HashMap<Names, ClassRule> = HashMap::with_max_entries(CLASS_RULES, 0);
/// Rules by the end of the last component.
#[map]
static SUFFIXES: HashMap<Suffix, ClassRule> = HashMap::with_max_entries(CLASS_RULES, 0);

const NAME_WORDS: usize = NAME_BYTES / 8;
/// Bits of an index of a name, and a mask for it.
const INDEX_BITS: u32 = names::MOST.trailing_zeros();
const INDEX: u64 = names::MOST as u64 - 1;

/// The keys of one classification, which are too large for the stack.
#[repr(C)]
pub struct Keys {
    /// What is asked about.
    pub names: names::Names,
    /// A component, and zeros.
    single: [u64; NAME_WORDS * 2],
    /// A component, and the one below it.
    pair: [u64; NAME_WORDS * 2],
    prefix: Key<Prefix>,
    /// By place of a name, the rules about it, and about it with the one below it: see [`word`]. By place of a root,
    /// the one about the two names below it.
    found: [[u64; 2]; names::MOST],
}

/// What the rules say so far; the first one that applies counts, for each of the two classes.
///
/// All of it is arithmetic: branches would multiply what the verifier has to walk.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Said {
    /// The class, and the number of that of a file that is written << 32.
    pub classes: u64,
    /// 1 once a rule has applied, and 2 once one about writing has.
    any: u64,
    /// 1 if not everybody may read the file.
    private: u64,
    /// 1 if the file is in a proc file system.
    proc: u64,
    /// The rule about the first two components within its file system, for the end.
    top: u64,
    /// The flags, as in a rule's word, of all components; and [`UNSEEN`] if there are more of them.
    flags: u64,
}

/// Bit of [`Said::flags`].
const UNSEEN: u64 = 1;

/// Bit of [`Said::top`] that says that the second of the two is the file itself; beside the rule's own.
const TOP_IS_LAST: u32 = 63;

/// Where a rule's flags stand in its word.
const FLAGS_AT: u32 = 48;

/// A rule as one word: class, that of files that are written << 32, and flags; 0 for none. The verifier knows
/// nothing of it.
#[inline(always)]
fn word(rule: Option<&ClassRule>, unknown: u64) -> u64 {
    let word = match rule {
        Some(rule) => {
            rule.class as u64 | (rule.written as u64) << 32 | (rule.flags as u64) << FLAGS_AT
        }
        None => 0,
    };
    forget(word, unknown)
}

/// 1 if a rule's word has the flag, else 0.
#[inline(always)]
fn bit(word: u64, flag: u16) -> u64 {
    word >> (FLAGS_AT + flag.trailing_zeros()) & 1
}

impl Said {
    /// Nothing, of a file that not everybody may read if `private` is 1, in a proc file system if `proc` is.
    #[inline(always)]
    pub fn nothing(private: u64, proc: u64) -> Self {
        Self { classes: 0, any: 0, private, proc, top: 0, flags: 0 }
    }

    /// Whether the path could say anything of a file that has no class so far, or is needed to tell of it.
    #[inline(always)]
    pub fn needs_path(&self, writes: bool) -> bool {
        let fronts = if writes { rule::FRONT | rule::FRONT_WRITTEN } else { rule::FRONT } as u64;
        let fronts = fronts | self.private * rule::FRONT_PRIVATE as u64;
        self.classes | self.top | self.flags & (fronts << FLAGS_AT | UNSEEN) != 0
    }

    /// Lets a rule speak about a component; `is_last` is 1 for the last one, `at_top` for what
    /// [`rule::TOP`] is about, else 0.
    #[inline(always)]
    fn ask(&mut self, word: u64, is_last: u64, at_top: u64) {
        let fits = (is_last | bit(word, rule::LAST) ^ 1)
            & (self.proc | bit(word, rule::PROC) ^ 1)
            & (at_top ^ bit(word, rule::TOP) ^ 1);
        let applies = fits
            & bit(word, rule::APPLIES)
            & (self.private | bit(word, rule::PRIVATE) ^ 1)
            & (self.any ^ 1);
        let applies = opaque(applies & 1);
        let writes = fits & bit(word, rule::WRITTEN) & (self.any >> 1 ^ 1);
        let writes = opaque(writes & 1);
        // Products: of a mask of all ones or none the verifier walks both.
        self.classes |= word & (applies * 0xffff_ffff | writes * 0xffff_0000_0000);
        self.any |= applies | writes << 1;
    }

    /// Lets the rules speak that are about names; `unknown` is something of which the verifier knows nothing.
    #[inline(always)]
    pub fn ask_names(&mut self, keys: &mut Keys, unknown: u64) {
        keys.look_up_names(unknown);
        let Marks { roots, ruled, unseen, .. } = keys.names.marks;
        self.flags |= unseen;
        // A bit that moves on with each name.
        let mut passed = 1_u64;
        for index in 0..names::MOST {
            if (roots | ruled) >> index == 0 {
                break;
            }
            let [single, pair] = keys.found[index];
            let is_root = opaque(roots >> index & 1);
            let is_name = is_root ^ 1;
            self.flags |= single;
            self.ask(pair * is_name, passed >> 1 & 1, 0);
            self.ask(single, passed & 1, 0);
            let is_top = bit(pair, rule::TOP) & is_root & is_equal(self.top, 0);
            self.top |= (pair | (passed >> 2 & 1) << TOP_IS_LAST) * opaque(is_top);
            passed <<= is_name;
        }
        self.forget(unknown);
    }

    /// Lets the rules speak that are about the end of the last name.
    #[inline(always)]
    pub fn ask_suffixes(&mut self, marks: &Marks, unknown: u64) {
        let mut bytes = SUFFIX_BYTES;
        while bytes >= MIN_SUFFIX_BYTES {
            if is_suffix_length(bytes) && marks.suffixes >> bytes & 1 != 0 {
                let key: Suffix = suffix(marks.end, bytes).to_ne_bytes();
                // SAFETY: a copy is taken at once.
                let rule = word(unsafe { SUFFIXES.get(&key) }, unknown);
                self.ask(rule, 1, 0);
            }
            self.forget(unknown);
            bytes -= 1;
        }
    }

    /// Lets the rules speak that are about the path's front.
    #[inline(always)]
    pub fn ask_prefixes(&mut self, path: *const u8, span: Span, keys: &mut Keys, unknown: u64) {
        self.ask(by_prefix(path, span, &mut keys.prefix, unknown), 1, 0);
    }

    /// Lets the rule speak that was found for the end.
    #[inline(always)]
    pub fn ask_top(&mut self) {
        self.ask(self.top, self.top >> TOP_IS_LAST & 1, 1);
    }

    /// What comes next is verified once, not once for each way to here.
    #[inline(always)]
    pub fn forget(&mut self, unknown: u64) {
        self.classes = forget(self.classes, unknown);
        self.any = forget(self.any, unknown) & 3;
        self.top = forget(self.top, unknown);
        self.flags = forget(self.flags, unknown);
    }
}

impl Keys {
    /// Looks up those of the names that a rule may be about. By itself: what the rules that are found mean takes
    /// many instructions, which the verifier would walk for each outcome.
    #[inline(always)]
    fn look_up_names(&mut self, unknown: u64) {
        let Marks { roots, ruled, .. } = self.names.marks;
        self.single = [0; NAME_WORDS * 2];
        // The places of the last two names.
        let mut places = 0;
        for index in 0..names::MOST {
            if (roots | ruled) >> index == 0 {
                break;
            }
            let is_root = opaque(roots >> index & 1);
            let is_name = is_root ^ 1;
            places = forget(places << (is_name * INDEX_BITS as u64), unknown);
            places |= index as u64 * is_name;
            let (outer, inner) = (places & INDEX, places >> INDEX_BITS & INDEX);
            self.found[index] = [0; 2];
            if ruled >> outer & 1 != 0 {
                self.put(outer as usize, inner as usize);
                // SAFETY: copies are taken at once.
                let single = word(unsafe { NAMES.get(as_names(&self.single)) }, unknown);
                self.found[index] = [single * is_name, 0];
                if bit(single, rule::PARENT) | is_root != 0 {
                    // SAFETY: as above.
                    let pair = word(unsafe { NAMES.get(as_names(&self.pair)) }, unknown);
                    self.found[index][1] = pair;
                }
            }
        }
    }

    /// Sets the keys for the name at `outer`, and for it and the one at `inner`.
    #[inline(always)]
    fn put(&mut self, outer: usize, inner: usize) {
        let [a, b, c, d] = self.names.all[outer % names::MOST];
        let [e, f, g, h] = self.names.all[inner % names::MOST];
        let [to_a, to_b, to_c, to_d, ..] = &mut self.single;
        (*to_a, *to_b, *to_c, *to_d) = (a, b, c, d);
        self.pair = [a, b, c, d, e, f, g, h];
    }
}

#[inline(always)]
fn as_names(words: &[u64; NAME_WORDS * 2]) -> &Names {
    // SAFETY: as many bytes, which need no alignment.
    unsafe { &*words.as_ptr().cast::<Names>() }
}

#[inline(always)]
fn by_prefix(path: *const u8, span: Span, key: &mut Key<Prefix>, unknown: u64) -> u64 {
    *key = Key::new(8 * PREFIX_BYTES as u32, [0; PREFIX_BYTES]);
    let from = Address((path as u64).wrapping_add(span.start as u64));
    let length = opaque(span.length as usize) & (2 * PATH_BYTES - 1);
    let length = if length < PREFIX_BYTES { length } else { PREFIX_BYTES };
    copy_kernel((&raw mut key.data).cast(), length as u32, from);
    word(PREFIXES.get(key), unknown)
}
