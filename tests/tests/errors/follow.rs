//! What is known by name in some place of a file, and the texts that an expression there comes to.

use std::cell::RefCell;
use std::collections::BTreeMap;

use syn::spanned::Spanned;
use syn::{Expr, ExprMethodCall, Ident, ImplItem, Item, Lit, Stmt};

use crate::scan::Callee;
use crate::template::{Template, formatted};

/// What an expression comes to, as far as its text goes.
pub(crate) enum Text {
    Words(Template),
    /// An argument of the function or closure that is called so, and in which files.
    Parameter(Callee, usize, String),
    /// The parameter of a closure that somebody else calls, with an error: `map_err(|error| ...)`.
    Passed,
    Unseen(String),
}

/// A function or closure, or a block: what is known by name in it.
#[derive(Default)]
pub(crate) struct Scope {
    /// What the function, or the closure that was bound, is called by, and in which files.
    pub(crate) callable: Option<(Callee, String)>,
    /// What it is called with, without the receiver.
    pub(crate) parameters: Vec<String>,
    pub(crate) lets: BTreeMap<String, Expr>,
}

/// What is known by name.
#[derive(Default)]
pub(crate) struct Names {
    /// The innermost last.
    pub(crate) scopes: Vec<Scope>,
    constants: BTreeMap<String, Expr>,
    /// What is being followed: a name that is bound to something of the same name hides it.
    following: RefCell<Vec<(usize, String)>>,
}

impl Names {
    /// What a file's constants are, wherever they stand.
    pub(crate) fn of(items: &[Item]) -> Self {
        let mut names = Self::default();
        for item in items {
            match item {
                Item::Const(item) => names.constant(&item.ident, &item.expr),
                Item::Static(item) => names.constant(&item.ident, &item.expr),
                Item::Impl(item) => {
                    for item in &item.items {
                        if let ImplItem::Const(item) = item {
                            names.constant(&item.ident, &item.expr);
                        }
                    }
                }
                _ => {}
            }
        }
        names
    }

    fn constant(&mut self, name: &Ident, value: &Expr) {
        self.constants.insert(name.to_string(), value.clone());
    }

    /// Every text the expression may come to.
    pub(crate) fn texts(&self, expr: &Expr) -> Vec<Text> {
        match expr {
            Expr::Lit(lit) => match &lit.lit {
                Lit::Str(text) => vec![Text::Words(Template::plain(&text.value()))],
                _ => unseen(expr),
            },
            Expr::Macro(mac) => match formatted(&mac.mac) {
                Some(template) => vec![Text::Words(template)],
                None => unseen(expr),
            },
            Expr::MethodCall(call) if is_conversion(call) => self.texts(&call.receiver),
            Expr::Reference(inner) => self.texts(&inner.expr),
            Expr::Paren(inner) => self.texts(&inner.expr),
            Expr::Try(inner) => self.texts(&inner.expr),
            Expr::Closure(closure) => self.texts(&closure.body),
            Expr::Path(path) => match path.path.segments.last() {
                Some(last) => self.named(&last.ident.to_string(), expr),
                None => unseen(expr),
            },
            Expr::If(branches) => {
                let mut texts = self.tail(&branches.then_branch.stmts);
                if let Some((_, other)) = &branches.else_branch {
                    texts.extend(self.texts(other));
                }
                texts
            }
            Expr::Match(arms) => arms
                .arms
                .iter()
                .flat_map(|arm| self.texts(&arm.body))
                .collect(),
            Expr::Block(block) => self.tail(&block.block.stmts),
            _ => unseen(expr),
        }
    }

    fn tail(&self, statements: &[Stmt]) -> Vec<Text> {
        match statements.last() {
            Some(Stmt::Expr(expr, None)) => self.texts(expr),
            _ => Vec::new(),
        }
    }

    fn named(&self, name: &str, expr: &Expr) -> Vec<Text> {
        for (depth, scope) in self.scopes.iter().enumerate().rev() {
            let place = (depth, name.to_owned());
            if let Some(value) = scope.lets.get(name)
                && !self.following.borrow().contains(&place)
            {
                self.following.borrow_mut().push(place);
                let texts = self.texts(value);
                self.following.borrow_mut().pop();
                return texts;
            }
            if let Some(nth) = scope.parameters.iter().position(|own| own == name) {
                return vec![match &scope.callable {
                    Some((callee, within)) => Text::Parameter(callee.clone(), nth, within.clone()),
                    None => Text::Passed,
                }];
            }
        }
        match self.constants.get(name) {
            Some(value) => self.texts(value),
            None => unseen(expr),
        }
    }
}

fn unseen(expr: &Expr) -> Vec<Text> {
    let text = expr.span().source_text().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    vec![Text::Unseen(text)]
}

/// Whether the text stays what it was.
fn is_conversion(call: &ExprMethodCall) -> bool {
    let name = call.method.to_string();
    matches!(
        name.as_str(),
        "to_owned" | "to_string" | "into" | "clone" | "as_str" | "as_ref"
    )
}
