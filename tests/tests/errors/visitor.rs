//! One file, read from top to bottom: a text is followed from where it becomes an error to where it
//! is written.

use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Block, Expr, ExprCall, ExprClosure, ExprMethodCall, ExprStruct, FnArg, ImplItemFn,
    Item, ItemConst, ItemFn, ItemImpl, ItemMod, Local, Macro, Member, MetaList, Pat, Path,
    Signature, Token, Type,
};

use crate::follow::{Names, Scope, Text};
use crate::scan::{Callee, Found, Scan, Sink, Takes};
use crate::template::{Template, format_of};

/// Methods that call their argument.
const HANDS_ON: [&str; 5] = ["map", "map_err", "and_then", "or_else", "unwrap_or_else"];

pub(crate) struct Visitor<'a> {
    path: &'a str,
    sinks: Vec<&'a Sink>,
    scan: &'a mut Scan,
    names: Names,
    /// The type that is implemented.
    own: Option<String>,
    /// The name that the closure coming next is bound to.
    bound: Option<String>,
}

impl<'a> Visitor<'a> {
    pub(crate) fn new(
        path: &'a str,
        items: &[Item],
        sinks: &'a [Sink],
        scan: &'a mut Scan,
    ) -> Self {
        let here = |sink: &&Sink| path.starts_with(&sink.within);
        Self {
            path,
            sinks: sinks.iter().filter(here).collect(),
            scan,
            names: Names::of(items),
            own: None,
            bound: None,
        }
    }

    /// An expression goes into a sink.
    fn sink(&mut self, sink: &Sink, code: Option<&String>, expr: &Expr) {
        let line = expr.span().start().line;
        for text in self.names.texts(expr) {
            let code = code.or(sink.code.as_ref()).cloned();
            match text {
                Text::Words(template) => {
                    self.insert(line, template.within(sink.frame), code);
                }
                Text::Parameter(callee, argument, within) => {
                    self.forward(Sink {
                        callee,
                        argument,
                        code,
                        within,
                        ..sink.clone()
                    });
                }
                Text::Passed => {}
                Text::Unseen(text) => {
                    if sink.takes == Takes::Texts {
                        self.scan.unseen.insert((self.path.to_owned(), text));
                    }
                }
            }
        }
    }

    fn forward(&mut self, forwarder: Sink) {
        let same = |one: &Sink| {
            (&one.callee, one.argument, &one.within)
                == (&forwarder.callee, forwarder.argument, &forwarder.within)
        };
        if !self.scan.forwarders.iter().any(same) {
            self.scan.forwarders.push(forwarder);
        }
    }

    fn insert(&mut self, line: usize, template: Template, code: Option<String>) {
        if template.has_words() {
            self.scan.found.insert(Found {
                file: self.path.to_owned(),
                line,
                template,
                code,
            });
        }
    }

    fn called(&mut self, callee: &Callee, arguments: &[&Expr]) {
        let sinks = self.sinks.clone();
        for sink in sinks {
            if sink.callee == *callee
                && let Some(argument) = arguments.get(sink.argument)
            {
                let code = arguments.iter().find_map(|argument| code_of(argument));
                self.sink(sink, code.as_ref(), argument);
            }
        }
    }

    /// A sink by its name alone is called with what is not seen: `map_err(CniError::try_again)`.
    fn handed_on(&mut self, arguments: &[&Expr]) {
        for argument in arguments {
            let Expr::Path(path) = argument else { continue };
            let callee = self.callee(&path.path);
            let mut texts = self.sinks.iter().filter(|sink| sink.takes == Takes::Texts);
            if texts.any(|sink| Some(&sink.callee) == callee.as_ref()) {
                let text = argument.span().source_text().unwrap_or_default();
                self.scan.unseen.insert((self.path.to_owned(), text));
            }
        }
    }

    fn within(&mut self, scope: Scope, inner: impl FnOnce(&mut Self)) {
        self.names.scopes.push(scope);
        inner(self);
        self.names.scopes.pop();
    }

    fn function(&mut self, signature: &Signature, inner: impl FnOnce(&mut Self)) {
        let parameters = signature.inputs.iter().filter_map(|input| match input {
            FnArg::Receiver(_) => None,
            FnArg::Typed(typed) => Some(bound_name(&typed.pat).unwrap_or_default()),
        });
        let name = signature.ident.to_string();
        let callee = match &self.own {
            Some(_) if signature.receiver().is_some() => Callee::Method(name),
            Some(own) => Callee::Associated(own.clone(), name),
            None => Callee::Function(name),
        };
        let scope = Scope {
            callable: Some((callee, package(self.path).to_owned())),
            parameters: parameters.collect(),
            ..Scope::default()
        };
        self.within(scope, inner);
    }

    /// What is called or named by a path.
    fn callee(&self, path: &Path) -> Option<Callee> {
        let mut segments = path.segments.iter().rev();
        let name = segments.next()?.ident.to_string();
        let Some(of) = segments.next().map(|of| of.ident.to_string()) else {
            return Some(Callee::Function(name));
        };
        Some(match (of.as_str(), &self.own) {
            ("Self", Some(own)) => Callee::Associated(own.clone(), name),
            // A module: its functions are called by their names everywhere.
            _ if of.starts_with(char::is_lowercase) => Callee::Function(name),
            _ => Callee::Associated(of, name),
        })
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if is_test(&item.attrs) {
            return;
        }
        let outer = self.own.take();
        if let Type::Path(path) = &*item.self_ty {
            self.own = path.path.segments.last().map(|last| last.ident.to_string());
        }
        if let (Some((of, _)), Some(own)) = (&item.trait_, &self.own)
            && of.segments.last().is_some_and(|last| last.ident == "Error")
        {
            let by_hand = format!("impl Error for {own}");
            self.scan.wordless.insert((self.path.to_owned(), by_hand));
        }
        visit::visit_item_impl(self, item);
        self.own = outer;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig, |inner| visit::visit_item_fn(inner, item));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig, |inner| visit::visit_impl_item_fn(inner, item));
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.within(Scope::default(), |inner| visit::visit_block(inner, block));
    }

    fn visit_expr_closure(&mut self, closure: &'ast ExprClosure) {
        let scope = Scope {
            callable: self
                .bound
                .take()
                .map(|name| (Callee::Function(name), self.path.to_owned())),
            parameters: closure
                .inputs
                .iter()
                .map(|pattern| bound_name(pattern).unwrap_or_default())
                .collect(),
            ..Scope::default()
        };
        self.within(scope, |inner| visit::visit_expr_closure(inner, closure));
    }

    fn visit_local(&mut self, local: &'ast Local) {
        if let (Some(name), Some(init)) = (bound_name(&local.pat), &local.init) {
            self.bound = matches!(&*init.expr, Expr::Closure(_)).then(|| name.clone());
            visit::visit_local(self, local);
            if let Some(scope) = self.names.scopes.last_mut() {
                scope.lets.insert(name, (*init.expr).clone());
            }
        } else {
            visit::visit_local(self, local);
        }
    }

    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        if let Some(scope) = self.names.scopes.last_mut() {
            scope
                .lets
                .insert(item.ident.to_string(), (*item.expr).clone());
        }
        visit::visit_item_const(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if !attribute.path().is_ident("error") {
            return;
        }
        let Ok(list) = attribute.meta.require_list() else {
            return;
        };
        let Some(template) = format_of(&list.tokens) else {
            return; // transparent
        };
        if template.has_words() {
            self.insert(attribute.span().start().line, template, None);
        } else {
            let format = template.as_str().to_owned();
            self.scan.wordless.insert((self.path.to_owned(), format));
        }
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        let arguments: Vec<_> = call.args.iter().collect();
        match &*call.func {
            Expr::Path(path) => {
                if let Some(callee) = self.callee(&path.path) {
                    self.called(&callee, &arguments);
                }
            }
            other => self.visit_expr(other),
        }
        for argument in arguments {
            self.visit_expr(argument);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let arguments: Vec<_> = call.args.iter().collect();
        let method = call.method.to_string();
        if HANDS_ON.contains(&method.as_str()) {
            self.handed_on(&arguments);
        }
        self.called(&Callee::Method(method), &arguments);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_struct(&mut self, literal: &'ast ExprStruct) {
        let last = literal.path.segments.last();
        let of = match (last.map(|last| last.ident.to_string()), &self.own) {
            (Some(name), Some(own)) if name == "Self" => own.clone(),
            (name, _) => name.unwrap_or_default(),
        };
        for field in &literal.fields {
            if let Member::Named(name) = &field.member {
                let callee = Callee::Field(of.clone(), name.to_string());
                self.called(&callee, &[&field.expr]);
            }
        }
        visit::visit_expr_struct(self, literal);
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        let arguments = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(mac.tokens.clone());
        let Ok(arguments) = arguments else { return };
        let name = mac.path.segments.last().map(|last| last.ident.to_string());
        let callee = Callee::Macro(name.unwrap_or_default());
        let sinks = self.sinks.clone();
        for sink in sinks.into_iter().filter(|sink| sink.callee == callee) {
            if sink.argument == 0
                && let Some(template) = format_of(&mac.tokens)
            {
                self.insert(
                    mac.span().start().line,
                    template.within(sink.frame),
                    sink.code.clone(),
                );
            } else if let Some(argument) = arguments.iter().nth(sink.argument) {
                self.sink(sink, None, argument);
            }
        }
        for argument in &arguments {
            self.visit_expr(argument);
        }
    }
}

/// The directory of the crate that a file belongs to.
fn package(path: &str) -> &str {
    path.split_once("/src/")
        .map_or(path, |(package, _)| package)
}

/// `#[test]`, `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let tests = |list: &MetaList| list.tokens.to_string() == "test";
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(tests))
    })
}

fn bound_name(pattern: &Pat) -> Option<String> {
    match pattern {
        Pat::Ident(ident) => Some(ident.ident.to_string()),
        Pat::Type(typed) => bound_name(&typed.pat),
        Pat::Reference(inner) => bound_name(&inner.pat),
        _ => None,
    }
}

/// The code's name, if the expression is one: `Code::DRIFT`.
fn code_of(expr: &Expr) -> Option<String> {
    let Expr::Path(path) = expr else { return None };
    let segments = &path.path.segments;
    let of = segments.iter().rev().nth(1)?;
    (of.ident == "Code").then(|| segments.last().map(|last| last.ident.to_string()))?
}
